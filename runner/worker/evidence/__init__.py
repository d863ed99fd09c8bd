"""What took effect, observed from inside the measured process."""
