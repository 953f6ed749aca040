"""The block formats of ggml whose weights are points of a grid: IQ1, IQ2 and IQ3.

Four or eight weights together are a point of a set that was chosen for being met often; a block has
the number of each point, and, in IQ2 and IQ3, the signs of the weights. In some formats seven signs
of eight are stored, and the eighth makes the number of minus signs even.

No bit is one weight's own, so that codes are made: of each weight, the place of its level among the
levels that it may have, the least first, signs included. Codes and scales tell the weights, but
codes of a fixed width take more than the file, because they do not know the grid: 3 bits for a
weight of 6 levels (IQ2), 4 for 16 (IQ3), 2 for 3 (IQ1).

The tables say which points each grid has, of all points in the order of their numbers; the levels
of a point are the digits of its number, the lowest first (ggml-common.h of ggml).
"""

from __future__ import annotations

import base64
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.ggml_block import (
    Block,
    Blocks,
    Codes,
    Floats,
    Words,
    bits,
    fields,
    looked_up,
    number,
    parts,
    scaled,
)

_IQ2_XXS = (
    "c-nPRORj`4470MbdWwiuj~R8vF<3s$DPNNQV8mEdDvh1mfzMz4@MsNM4-"
    "kL~Dg?0u3Z<Q}s#5&i%a^YL7=qILyw)W4Cso8iRnlpCLd`c4Du;C<RlH?aajd+e<FY7)k8>WSTt@47wX1jPqB41q=2e+"
    "&9hy;#r#nzQ(d`wV2I-N(E<X_7hks$x7)Do8!;TEvZcdv+$;Bf*s-;99+U-"
    "&7)=?KnsoS&M%ZZjW8ztGaG<oin^)>q~!#84@<5Q?C;cAe-"
    "jqH$lW6s<jvF<nQc*Z$~yKl@H%B$)D{-`Y{-_v~Aze0c0{sHUUCpi"
)
_IQ2_XS = (
    "c-mc2ORj`4470L|dWwh@;*?QWh*MOoP)|Aew9xme83;|{*iP^L>UVu^J$f&9<)%0;rYcZH@zkTcz*1-"
    "`0#F4vd)cqIa~EY0S(m36us~sl4e+uqnt+xnD5p1ifdk&k2^cqyDKl&hVwLuN#<u{Y#82-"
    "D2r2AS*#~B;6>b%zZ?$An2Qav5OyP;?IjC1*OUa>YNXBOJs!l*N%2M9ag1pZ#qbS<pDODX)Ys@FiGwcn?g7z}ZUJ85J?"
    "WuXe7)kq!xj_MC=sehbo`f6hw91-EjVApg;SBK(#S-"
    "ctqy5bslAAu_xaBeODLPcR%XL4jpOCvsj1dP@iIwgyVBr<uBI!nKMuUZZ1qQNNP<bV}FGN4KvRv{ky>(2~*Gt;x6q$P="
    "{6Cb#@3Dfxx_wWh`vWo0U*P"
)
_IQ2_S = (
    "c-n1JOKt@r42!agI0c#&;*=39#3>LflvCCTO#7-"
    "9jpk=;Y=fB%TefG%OIlXuE_Fz<Ougf=%xu>+l3Bq8hyjg~lMrunmZ<Wy`~YGiEi#3On5vBd<vmKZSi%aW(psKWGWlAsp"
    "hF>8rUC+;ZDfa(=s@_F#i0yss$-8fvv#Vf@jNV{kuiVLgA~66J1A2@4RVJKUxH}IH-"
    "$JpaZ^g})pmKjjd>lmojtPqGOJ!xqXVV(I)s3f1HneH&<4|id_Zsqi~d9|fZw$~1nHWO$bgs-"
    "@JBFei6qb36Asxo<#s4;BRhd~d<sfnbhG0<$t^)oE$@gK%zO1xyELVB%s1k`FAKZeJ@WjCtPZ6s4%XC=!ChZ<C{I5t%j"
    "B|RQ$q0^0H^%ZVVCdNfJ9HPfzZdmWSrg_I({bPgptf%^rJMcpz`hTS7u<>s9rVvW-WSa`T|j+oGk"
)
_IQ3_XXS = (
    "c-l=-K?=h#3{ye}VW$qZd!FLL9+1HvWO^EVh1sdkoaHp#R7#szmgHo6m{j1}>~2z^o7e*jro|>W6f;suxGq5ThwwrH-t"
    "dy3S=*8VCKknJ;ww~xN=C-"
    "Lt2kc1f`n?I#<sN&{qc;xi`rsIog^>xCi>0vO72GEj+P?`#G30*;dkafo0(MD70~26E5oy)Fh-PS2J_iYxE!Gh>5A3e2"
    "Aw8l#Lz*UZ2xyz&!sE!Xy7=t?heopubnm$;UMyR4j1Wf!f;*xLWT6+u!rw*Hy!tqyDZ17JdzPtf@!~_J7yrh&WtZi"
)
_IQ3_S = (
    "c-k#dK}rKb5Ud?m7(7iN59ovqtiR~U2pdlmS^v`sIn3TR;sZue5Z@6$Amj-"
    "`@D=vV+J}a&>aMEU{rNq)_mDQ1)6rXa`g-zl6)-xV9&D<-"
    "%sLtw(&E+K!8jAZAn=FIh`{BX?s3iZ9eL!0y{saQwa{i<M_rV8i?Gza!ZNf5Tx$=B>&%}&x2aFnb2>I1DZfG3@eJJ?w}"
    "Hf9jj>U<u}qaX$V(Q{%bJZi0qBwX8+P2=0D&xpG^*kpx3aC_+^woo1gDy;frCMb5s>PfCelExhl@Z5=M_J&lZwQK<TIa"
    "Ot1Nd_t_Z4Nkqr(Irw~QLK*sjOloy2EUU#sN3YKfvLC9pG+yhGG#kO><KBF1{I~{B$E!8AqIlE}-"
    "BNQAl`R33C|JNFjj93D(#a!oZudm_a(c~OHe<Yb)Y4R?AVbTWv01QA~hX"
)
_IQ1 = (
    "c-k#eO>0z16uqyx#k83y_qA0qE*kA7fk#%6iL;cd<W&+S(JE7AEBc6nlGQ*KX*Z#@1057+gows$6w-"
    "}Cbfte_m;o2UY|_#*VZa~*x^U%6T=`Mm&aUdhx#ygF&eKOplgaU0)cQ?aLaWb`!=%}lC@i-"
    "gZEZ5CFdhU_><`D{U2pdIZAiiRBZ^Tjpc--1mjt-&r-"
    "O_l7bZy)3*%3zRUeyRXfJ~s5?<5PM<UK4aB<I3L}>n{hnc{+>K$G67mn>zvR$=UOtZPa7LUsmQWQ2bN)ou!Kj_yfb~LQ"
    "yR=nku)`P+=g=?+GNRyF#AueD^;Yg67k)HG=(os>Uh!rG~(gRxZza2HhyPsM)=qh9|ehXUldkU;_wA!C+2Fv`rcq!34!"
    "0Fqz%0;&7#XeAmBu`}t6ci#>+3WlSwzITy{$0C$RU8lhlWkibbyz6nxOL=l|4%yAAJ4G^LV^S*V!(*CwdNU%)Qrh$#q9"
    "cyW*tq|@QQ}j896#XTv`6q5lhc&*LLPVeEGcad$xT4&D*b^FV9bJ+^}ih*A`2jX2rIue$9q9{)`S!jt!g=X1D{vGEMnu"
    "kjj}Wcvs!oqc~_d61@aP1V3Bvcjc9uWpgt6=l#-;vm1GpU-HX*>(|GJ!F2C{R9{8qA7trFiLFJ0VD+S2Ny_0+jiaiUvP"
    "bU!Gt<44HyL$nQ%A{iI)xZW(;0iU=zRoe)YSg8LFF!L&Ei&Q)FngSxd==b)ez8IIEAq?gCPR1z1`cE#svx$dBcgrdMr~"
    "`+vY{G*{j)LdH7J(;|V_S3+rEqj0{aUGZ~5`z3=#nUT2ypkIbf^7Qd%#dKF#22&cWI$B=(k{y*i-P-"
    "%7a6aqltG8tC11XWn$8wuQe)#`Rb$ezM@h+=MX6ehv4>@KW-1MD8)wE"
)


@functools.cache
def _grid(table: str, levels: int, weights: int) -> NDArray[Any]:
    """The points of a grid by their numbers: the places of all levels of a point as one integer."""
    chosen = np.unpackbits(np.frombuffer(zlib.decompress(base64.b85decode(table)), np.uint8))
    digits = np.flatnonzero(chosen)[:, None] // levels ** np.arange(weights) % levels
    return digits.astype(np.uint8).view(f"u{weights}")[:, 0]


_THREE = functools.partial(_grid, levels=3, weights=8)
_EIGHT = functools.partial(_grid, levels=8, weights=4)


def _points(grid: NDArray[Any], numbers: Words) -> Codes:
    """The levels of the points of these numbers, a row for each row."""
    return np.take(grid, numbers.reshape(len(numbers), -1)).view(np.uint8)


# --- IQ2 and IQ3: levels and signs --------------------------------------------------------------


def _even(seven: Words) -> NDArray[np.uint8]:
    """Eight signs, of which seven are stored."""
    return np.take(_EVEN, seven)


_EVEN = np.array([s | (s.bit_count() & 1) << 7 for s in range(128)], np.uint8)


def _signed(levels: Codes, signs: NDArray[np.uint8], count: int) -> Codes:
    """The places of signed levels: minus the highest first, plus the highest last."""
    flipped = levels ^ -bits(signs)  # -1 - level, of a minus sign
    flipped += np.uint8(count)
    return flipped


def _iq2_xxs_codes(blocks: Blocks) -> Codes:
    points = _points(_THREE(_IQ2_XXS), blocks["qs"]["points"])
    return _signed(points, _stored_signs(blocks["qs"]["signs"]), 3)


def _iq2_xs_codes(blocks: Blocks) -> Codes:
    points = _points(_THREE(_IQ2_XS), blocks["qs"] & np.uint16(511))
    return _signed(points, _even(blocks["qs"] >> np.uint16(9)), 3)


def _iq2_s_codes(blocks: Blocks) -> Codes:
    numbers = blocks["qs"] | parts(blocks["qh"], (0, 2, 4, 6), 3).astype(np.uint16) << np.uint16(8)
    return _signed(_points(_THREE(_IQ2_S), numbers), blocks["signs"], 3)


def _iq3_xxs_codes(blocks: Blocks) -> Codes:
    points = _points(_EIGHT(_IQ3_XXS), blocks["qs"])
    return _signed(points, _stored_signs(blocks["signs"]), 8)


def _iq3_s_codes(blocks: Blocks) -> Codes:
    numbers = blocks["qs"] | bits(blocks["qh"]).astype(np.uint16) << np.uint16(8)
    return _signed(_points(_EIGHT(_IQ3_S), numbers), blocks["signs"], 8)


def _stored_signs(words: Words) -> NDArray[np.uint8]:
    """The signs in the lower 28 bits of each word; the upper four are a scale."""
    return _even(parts(words, (0, 7, 14, 21), 127))


def _halves(steps: Words, blocks: Blocks, unit: float) -> Floats:
    """Scales that are so many steps and a half of the block's own, times a unit."""
    return number(blocks) * (np.float32(0.5) + steps.astype(np.float32)) * np.float32(unit)


def _iq_xxs(levels: tuple[int, ...], unit: float, word: Callable[[Blocks], Words]) -> Any:
    def scale(blocks: Blocks, codes: Codes) -> Floats:
        steps = word(blocks) >> np.uint32(28)
        return scaled(_halves(steps, blocks, unit), looked_up(codes, levels))

    return scale


def _iq2(blocks: Blocks, codes: Codes) -> Floats:
    steps = parts(blocks["scales"], (0, 4), 15)
    return scaled(_halves(steps, blocks, 0.25), looked_up(codes, _IQ2_LEVELS))


def _iq3_s(blocks: Blocks, codes: Codes) -> Floats:
    odd = 2 * parts(blocks["scales"], (0, 4), 15) + 1
    return scaled(number(blocks) * odd.astype(np.float32), looked_up(codes, _IQ3_S_LEVELS))


def _both_signs(*levels: int) -> tuple[int, ...]:
    return (*(-level for level in reversed(levels)), *levels)


_IQ2_LEVELS = _both_signs(8, 25, 43)
_IQ3_XXS_LEVELS = _both_signs(4, 12, 20, 28, 36, 44, 52, 62)
_IQ3_S_LEVELS = _both_signs(1, 3, 5, 7, 9, 11, 13, 15)


# --- IQ1: three levels, moved by an eighth up or down -------------------------------------------


def _iq1_s_codes(blocks: Blocks) -> Codes:
    numbers = blocks["qs"] | parts(blocks["qh"], (0, 3, 6, 9), 7) << np.uint16(8)
    return _points(_THREE(_IQ1), numbers)


def _iq1_s(blocks: Blocks, codes: Codes) -> Floats:
    odd = 2 * (blocks["qh"] >> np.uint16(12) & np.uint16(7)) + 1
    moved = _moved(codes, blocks["qh"] >> np.uint16(15))
    return scaled(number(blocks) * odd.astype(np.float32), moved)


def _iq1_m_codes(blocks: Blocks) -> Codes:
    numbers = blocks["qs"] | parts(blocks["qh"], (0, 4), 7).astype(np.uint16) << np.uint16(8)
    return _points(_THREE(_IQ1), numbers)


def _iq1_m(blocks: Blocks, codes: Codes) -> Floats:
    words = blocks["scales"].astype(np.uint16)
    odd = 2 * parts(words, (0, 3, 6, 9), 7) + 1
    moved = _moved(codes, parts(blocks["qh"], (3, 7), 1))
    return scaled(_scattered(words) * odd.astype(np.float32), moved)


def _scattered(words: Words) -> Floats:
    """The scale of each block, of which four words have four bits each, uppermost in them."""
    whole = words[:, 0] >> 12 | words[:, 1] >> 8 & 0xF0 | words[:, 2] >> 4 & 0xF00
    whole |= words[:, 3] & 0xF000
    return np.asarray(whole.view(np.float16).astype(np.float32)[:, None])


def _moved(codes: Codes, down: Words) -> Floats:
    """Levels -1, 0, 1, moved by an eighth: a run of them down where the bit for it is set."""
    levels = looked_up(codes, (-1, 0, 1)).reshape(down.size, -1)
    levels += np.where(down.reshape(-1, 1), np.float32(-0.125), np.float32(0.125))
    return levels.reshape(codes.shape)


# --- all of them --------------------------------------------------------------------------------

_PAIR = np.dtype([("points", "u1", 4), ("signs", "u4")])
_IQ2_XXS_FIELDS = np.dtype([("d", "f2"), ("qs", _PAIR, 8)]).newbyteorder("<")

BLOCKS: Mapping[int, Block] = {
    16: Block(
        "IQ2_XXS", 256, 6, _IQ2_XXS_FIELDS, _iq2_xxs_codes,
        _iq_xxs(_IQ2_LEVELS, 0.25, lambda blocks: blocks["qs"]["signs"]), 480,
    ),
    17: Block("IQ2_XS", 256, 6, fields(d="f2", qs="32u2", scales=8), _iq2_xs_codes, _iq2, 512),
    18: Block(
        "IQ3_XXS", 256, 16, fields(d="f2", qs=64, signs="8u4"), _iq3_xxs_codes,
        _iq_xxs(_IQ3_XXS_LEVELS, 0.5, lambda blocks: blocks["signs"]), 736,
    ),
    19: Block("IQ1_S", 256, 3, fields(d="f2", qs=32, qh="8u2"), _iq1_s_codes, _iq1_s, 352),
    21: Block(
        "IQ3_S", 256, 16, fields(d="f2", qs=64, qh=8, signs=32, scales=4), _iq3_s_codes, _iq3_s,
        832,
    ),
    22: Block(
        "IQ2_S", 256, 6, fields(d="f2", qs=32, signs=32, qh=8, scales=8), _iq2_s_codes, _iq2, 576
    ),
    29: Block("IQ1_M", 256, 3, fields(qs=32, qh=16, scales="4u2"), _iq1_m_codes, _iq1_m, 352),
}  # fmt: skip
"""The formats by ggml's numbers of their types."""
