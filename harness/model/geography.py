"""Distance from place: how long light needs along a fibre between two points of the Earth."""

from __future__ import annotations

import math

__all__ = ["FIBRE_KM_PER_S", "PATH_FACTOR", "fibre_delay_s", "great_circle_km"]

#: Mean radius of the Earth (IUGG), km.
_EARTH_RADIUS_KM = 6371.0088
_LIGHT_KM_PER_S = 299_792.458
#: Group index of standard single-mode fibre at 1,550 nm, as fibre data sheets for ITU-T G.652 give it.
_GROUP_INDEX = 1.468
#: Speed of light in fibre: about 204,000 km/s, 4.9 us per km.
FIBRE_KM_PER_S = _LIGHT_KM_PER_S / _GROUP_INDEX
#: How much longer than the great circle a cable's way is taken to be, unless a topology says otherwise. An assumption:
#: London to New York (5,570 km) comes out at 82 ms round trip, within the 90 ms carriers promise there.
PATH_FACTOR = 1.5


def great_circle_km(latitude_a: float, longitude_a: float, latitude_b: float, longitude_b: float) -> float:
    """Shortest way over the surface of a spherical Earth between two points given in degrees, km (haversine)."""
    a, b = math.radians(latitude_a), math.radians(latitude_b)
    east = math.radians(longitude_b - longitude_a)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(east / 2) ** 2
    return 2 * _EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def fibre_delay_s(distance_km: float, path_factor: float = PATH_FACTOR) -> float:
    """One-way delay over a fibre whose way is path_factor times that distance, seconds."""
    return distance_km * path_factor / FIBRE_KM_PER_S
