"""Audio exports: everybody in one track, or a track for each participant; WAV, FLAC or Opus.

Theory of operation

`plan.make_plan` decides, in samples of one rate, where each file is heard: position 0 is the first sample of all, and a
file begins at `start_ms`, exactly. `mixing.sound` turns tracks of the plan into a `Sound`, whose blocks of at most
`BLOCK` samples come in order; `wav.write` and `encoding.write_flac`, `write_opus` take one. So memory depends neither
on the length of the recording nor, for WAV files, on the number of participants.

    plan      what is heard when: rates, channels, `--from`, `--to`, `--user-id`. Pure
    reading   the samples of one file, in the rate and channels of the plan
    adding    the sum of samples, clipped to 16 bit; with numpy, or slower without
    mixing    the blocks of a `Sound`
    wav       WAV without any library, silence left out of the file
    encoding  FLAC by soundfile, Opus by PyAV
    exporter  the functions of the formats

A WAV of WAVs of one sample rate needs no library. Opus files, and another rate, need PyAV.
"""
