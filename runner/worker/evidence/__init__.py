"""Evidence of which settings took effect, observed from inside the measured process."""
