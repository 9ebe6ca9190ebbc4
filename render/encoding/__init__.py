"""From a Frame to bytes: pictures, and values without loss."""
