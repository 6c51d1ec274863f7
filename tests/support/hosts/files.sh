cd / && find etc home opt root tmp usr var -xdev \( \
  -name .ansible -o -path 'tmp/systemd-private-*' -o -path var/cache -o -path var/lib/systemd/timesync -o \
  -path var/log -o -path var/tmp \) -prune -o -printf '%p %y %m %u %l\n' | sort
