"""From a fused Relax module to an artifact: steps, memory, C glue, linking, packaging."""
