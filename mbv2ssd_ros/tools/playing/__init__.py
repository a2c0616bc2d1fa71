"""Parts of `play_images` and `view_detections`."""
