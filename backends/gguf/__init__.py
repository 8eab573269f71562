"""What a GGUF file says about its model, read from its header alone and without an engine.

`files.read_shape` is the way in for a file of this machine, `files.shape_from` for any other source of bytes.
"""
