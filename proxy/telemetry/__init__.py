"""What is told about the program itself: metrics, logs, and the one door to background tasks."""
