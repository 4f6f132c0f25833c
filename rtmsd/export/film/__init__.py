"""Film: video and shared screens of a recording in files that programs play, and images one by one.

Pictures are never encoded again. A file of hours passes through in pieces of one picture.

    pictures      the messages of one file, by its index, and what is missing of it
    access_units  messages of H.264 joined to pictures. Pure
    segments      pictures of one size from one connection, from a key frame on
    container     Matroska or MP4 with the times of the index, by PyAV
    remux         exporter: a film for each segment
    images        exporter: each JPEG and PNG in a file, without any library
    session       exporter: one film of all, with sound, subtitles and `chapters`
"""
