"""The test of structure that a run makes by itself: are weights more than their values?

::

    checkpoint ─► sample ─► shortest code of its tensors, at one distortion
                              │ against shuffled draws, until the verdict is settled
                              │ against scaled ones, where shuffles are longer
                              └► rows of the report, scope "sample"

The statistic is a code length, the same function of the weights and of each draw, so that a
permutation p-value is exact whatever the code (Phipson & Smyth 2010). Draws end as soon as the
outcome is settled: after `sequential.EXCEEDING` draws that are no longer than the weights (Besag &
Clifford 1991), at the latest after 39.

Each tensor is tested within itself. That two tensors of one file are alike, such as weights and
their average, is no structure here.
"""
