"""The processes of a run: how they are launched, spoken to, frozen, and ended."""
