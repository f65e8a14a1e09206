"""One patch to one copy: arrays in, arrays out. Only `transforms` imports albumentations."""
