//! What the node and the agent inside a container share: the wire between them, and the file tree they compare.
