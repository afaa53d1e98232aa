"""A local web page to try the upscaler: standard library on this side, plain JavaScript on the other; works offline."""
