# Arty A7-100T. Pins and the 100 MHz clock come from amaranth-boards. Never built here: it needs the vendor's tools.

# The configuration bank and the flash run at 3.3 V on this board.
set_property CFGBVS VCCO [current_design]
set_property CONFIG_VOLTAGE 3.3 [current_design]
