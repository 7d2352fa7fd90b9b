"""TensorFlow Lite files: what writes them, and what runs them where they are to run."""
