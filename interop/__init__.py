"""Bridges to other libraries, one module each. They use only jtorch's public API, and import their library on use."""
