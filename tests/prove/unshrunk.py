"""A plugin of pytest for planted defects: the first example that fails is enough, nobody has to read a small one."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=(Phase.explicit, Phase.generate))
settings.load_profile("unshrunk")
