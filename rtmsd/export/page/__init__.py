"""The page of a recording: one HTML file to look at, to search and to hear, without a network or a framework.

    exporter  reads the recording and writes the file
    peaks     the loudest sample of each tenth of a second, for the lanes
    mix       the sound: in the page as Opus, beside it as WAV, or none
    data      what the script reads, a JSON object
    document  markup, policy, style, script and data put together

`page.js` draws lanes and lists from the data, and follows playback; `page.css` is its style. Both are in the page, and
its content security policy allows them alone. Everything that was recorded is data, which the script shows as text:
nobody's name or words are ever markup.
"""
