"""The operating system's side: systemd's notifications and journal, and the holders of sockets."""
