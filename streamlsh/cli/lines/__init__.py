"""What can be typed after the name of each command, and the help that teaches it."""
