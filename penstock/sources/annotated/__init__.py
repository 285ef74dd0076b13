"""Sources of annotated images, in the layouts of their tools: COCO, Pascal VOC, YOLO, and folders side by side."""
