"""The connection to Redis (one server, a cluster, or Sentinels), its errors and logins, and our scripts."""
