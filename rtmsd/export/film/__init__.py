"""Film: video and shared screens of a recording in files that programs play, and images one by one.

Nothing is encoded again. `pictures` reads a file by its index and finds what is missing in it, `access_units` joins
messages of H.264 to pictures, `container` puts them into Matroska or MP4 with the times of the index. The exporters are
`remux` and `images`. A file of hours passes through in pieces of one picture.
"""
