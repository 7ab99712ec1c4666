"""From a program to an artifact: manifest, package, emulation."""
