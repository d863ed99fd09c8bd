"""The cache of artifacts: exported and quantised models, fitted weights, data sets, reference answers."""
