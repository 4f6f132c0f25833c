"""The operating system's side: systemd's notifications and journal, file locks, and the holders of sockets."""
