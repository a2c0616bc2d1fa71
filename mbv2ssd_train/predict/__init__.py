"""Detections in images, videos, webcams and streams, as pictures and as JSON."""
