"""
The lifecycle node, in the order in which to read it.

The process: node, start, detector_node, pipeline. Parameters: parameters, parameter_table,
parameter_file, topics. The path of an image: receiver, image_bytes, camera, (scheduler),
frame_processor, detection_bytes or detection_messages, debug_image, label_info. Status:
camera_monitor, missing_images, diagnostics, typed_status, throttle. Resources of the process:
memory, fast_dds, shared_memory, events. For launch files: launching.
"""
