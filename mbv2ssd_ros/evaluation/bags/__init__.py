"""Reading images and detections from bags, and writing bags."""
