"""Pictures as bytes: the codecs of video and shared screens, what the head of a message says, and segments. Pure.

The readers look at the beginning of a message only, and take whatever bytes come: H.264 as an Annex B stream (Rec.
ITU-T H.264, 7.3 and annex B), JPEG (ITU-T T.81, B.2) and PNG (W3C, 5.6 and 11.2.1). Nothing here decodes a picture.
"""
