"""The autograd tape: nodes over Values, the backward engine, and the grad modes.

``modes`` (is anything being recorded?), ``node`` (one recorded operation), ``engine`` (the walk back).
"""
