-- What `backup --verify` needs beyond Umami's own rights: it restores a backup into a database of such a name,
-- compares, and drops that again.
GRANT ALL ON `umami\_ops\_scratch\_%`.* TO umami;
