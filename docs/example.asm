# y = W x for each token of a chunk: W is ternary, x the row of a table that the token names. For machine `ci`.
#
# The chunk: three tokens, in tiles of two. Memory before the run; + and - are the trits 1 and -1:
#
# tokens 2 0 1
# tile 2
# before 0x000 float32  0.007874016 0 0 0
# before 0x040 float32  127 -20 3 50
# before 0x050 float32  -1 2 -127 60
# before 0x060 float32  4 5 6 -127
# before 0x080 trits    + 0 - 0 / 0 + 0 + / - - - - / + + + +
#
# And after it, a row for each entry of the chunk:
#
# after 0x100 float32  -2 -122 112 -112
# after 0x110 float32  124 30 -160 160
# after 0x120 float32  126 62 66 -66

FETCH base=0x000 bytes=16 kind=OTHER
MAP source=TAPE dest=SCALAR n=4 d=0                   # SCALAR[0] = k, about 1 / 127

LOOP register=TILE
  FETCH base=0x040 stride=16 bytes=16 index=TOKEN kind=OTHER tiled=1   # x, token by token
  FETCH base=0x080 bytes=4 kind=WEIGHTS                                # W, once for the tile

  MAP source=TAPE n=4 d=0 statistics=1 stat=0 tiled=1                  # ACT[0 ..] = x; STAT[0] has its absmax A
  QUANTISE target=MATMUL n=4 a=0 d=0 stat=0 tiled=1                    # Q[0 ..] = x 127 / A, rounded
  NORM stat=0 d=8 tiled=1                                              # SCALAR[8 + t] = A
  MATMUL rows=4 k=4 q=0 acc=0 tiled=1 wait_vector=1                    # ACC[0 ..] = W Q; NORM may go on
  MAP source=ACCUMULATOR scaled=1 s1=8 s2=0 n=4 a=0 d=16 tiled=1 wait_matmul=0 wait_store=0
  STORE base=0x100 step=16 bytes=16 payload=ACTIVATION a=16 tiled=1 wait_vector=0   # ACT[16 ..] = ACC A k
NEXT register=TILE
END
