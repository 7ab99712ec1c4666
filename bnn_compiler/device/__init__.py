"""Running and timing programs: here, or on boards over TVM's RPC."""
