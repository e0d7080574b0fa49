"""The way to Redis, whatever it is: one server, a cluster, Sentinels; its errors, its logins, our scripts."""
