"""Ids for detections of one camera that survive missed frames; numpy only."""
