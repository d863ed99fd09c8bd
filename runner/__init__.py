"""How fast can this model run on this CPU, and what does it cost in accuracy?"""
