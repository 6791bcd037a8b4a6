//! The real servers, each by shell lines: what it needs, and what runs it in the foreground.
//!
//! `@dir@` stands for a directory of its own, `@port@` for its port.

/// A server of Debian's.
#[derive(Clone, Copy)]
pub(super) struct Server {
    /// Files in its directory: name and text.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Once, before the first start.
    pub(super) prepare: &'static str,
    /// The line ends with an `exec`, so that the server has the pid that was started.
    pub(super) run: &'static str,
}

/// nginx, one process, so that it can be stopped. Files beside its configuration make it answer
/// with an error (`broken`), with another page (`other`), not at all (`mute`), or with ten octets
/// a second (`drip`).
macro_rules! nginx {
    ($listen:literal) => {
        Server {
            files: &[(
                "nginx.conf",
                concat!(
                    "daemon off;
master_process off;
user root;
pid @dir@/nginx.pid;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path @dir@/body;
  proxy_temp_path @dir@/proxy;
  fastcgi_temp_path @dir@/fastcgi;
  uwsgi_temp_path @dir@/uwsgi;
  scgi_temp_path @dir@/scgi;
  default_type text/plain;
  server {
    ",
                    $listen,
                    "
    location / {
      if (-f @dir@/broken) { return 500; }
      if (-f @dir@/other) { return 200 'another page'; }
      if (-f @dir@/mute) { return 444; }
      if (-f @dir@/drip) { set $limit_rate 10; }
      return 200 'all is well';
    }
  }
}
"
                ),
            )],
            prepare: "",
            run: "exec nginx -c @dir@/nginx.conf -p @dir@ -e @dir@/error.log",
        }
    };
}

pub(super) const NGINX: Server = nginx!("listen @port@;");

/// The certificate is read anew for each handshake, because its name has a variable in it.
pub(super) const NGINX_TLS: Server = nginx!(
    "listen @port@ ssl http2;
    ssl_certificate @dir@/$ssl_server_name.pem;
    ssl_certificate_key @dir@/key.pem;"
);

/// It knows two names, one of them with more text than fits into a datagram.
pub(super) const DNSMASQ: Server = Server {
    files: &[("hosts", "192.0.2.7 www.example\n")],
    prepare: "",
    run: "exec dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts \
          --addn-hosts=@dir@/hosts --local=/example/ --port=@port@ --user=root \
          --pid-file=@dir@/pid --log-facility=- --txt-record=big.example,\
          $(printf 'a%.0s' $(seq 250)),$(printf 'b%.0s' $(seq 250)),$(printf 'c%.0s' $(seq 250))",
};

/// Exim. Files beside its configuration make it too busy (`full`), unwilling (`shut`), unwilling to
/// be greeted (`rude`), or slow to greet (`slow`).
pub(super) const EXIM: Server = Server {
    files: &[(
        "exim.conf",
        "primary_hostname = mx.example
exim_user = root
exim_group = root
spool_directory = @dir@/spool
log_file_path = @dir@/exim.%slog
pid_file_path = @dir@/exim.pid
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
keep_environment =
queue_only
acl_smtp_connect = connect
acl_smtp_helo = helo
begin acl
connect:
  warn condition = ${if exists{@dir@/slow}}
       delay = 2s
  defer condition = ${if exists{@dir@/full}}
       message = 421 4.3.2 too busy
  deny condition = ${if exists{@dir@/shut}}
       message = 554 5.3.2 no mail here
  accept
helo:
  deny condition = ${if exists{@dir@/rude}}
       message = 550 5.7.1 not you
  accept
begin routers
begin transports
",
    )],
    prepare: "mkdir -p @dir@/spool",
    run: "exec exim4 -C @dir@/exim.conf -bdf -oX @port@",
};

pub(super) const REDIS: Server = Server {
    files: &[],
    prepare: "",
    run: "exec redis-server --port @port@ --bind 0.0.0.0 --protected-mode no --save '' \
          --appendonly no --dir @dir@ --enable-debug-command yes",
};

/// MariaDB, which knows the director's name, so that it counts the errors of that host and soon
/// has enough of it: where it cannot find a name, it does not count.
pub(super) const MARIADB: Server = Server {
    files: &[
        ("hosts", "127.0.0.1 localhost\n10.0.2.1 director\n"),
        ("init.sql", "CREATE USER IF NOT EXISTS app@'%';\n"),
    ],
    prepare: "mariadb-install-db --no-defaults --user=root --datadir=@dir@/data \
              --auth-root-authentication-method=normal --skip-test-db \
              --innodb-log-file-size=4M --innodb-buffer-pool-size=8M",
    run: "mount --bind @dir@/hosts /etc/hosts && exec mariadbd --no-defaults --user=root \
          --datadir=@dir@/data --socket=@dir@/socket --port=@port@ --bind-address=0.0.0.0 \
          --pid-file=@dir@/pid --init-file=@dir@/init.sql --innodb-log-file-size=4M \
          --innodb-buffer-pool-size=8M --max-connections=10 --max-connect-errors=8",
};

/// PostgreSQL, which does not run as root.
pub(super) const POSTGRES: Server = Server {
    files: &[],
    prepare: "chown postgres @dir@ && cd @dir@ && setpriv --reuid=postgres --regid=postgres \
              --clear-groups $(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/initdb -D @dir@/data \
              -A trust -U postgres --no-sync --no-instructions --no-locale \
              && echo 'host all all 0.0.0.0/0 scram-sha-256' >>@dir@/data/pg_hba.conf",
    run: "cd @dir@ && exec setpriv --reuid=postgres --regid=postgres --clear-groups \
          $(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/postgres -D @dir@/data -p @port@ \
          -c listen_addresses='*' -c unix_socket_directories=@dir@ -c fsync=off \
          -c max_connections=4 -c superuser_reserved_connections=0 -c max_wal_senders=0",
};

/// Nobody: what is asked is the kernel, or a file.
pub(super) const NOBODY: Server =
    Server { files: &[("state", "up\n")], prepare: "", run: "exec sleep 1000000" };
