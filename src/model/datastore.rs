//! Images that hold data and answer no browser: a compose file of nothing else has no web service.

/// Last path segments of the images of databases, caches, queues and search engines.
const DATASTORES: [&str; 48] = [
    "arangodb",
    "cassandra",
    "clickhouse",
    "clickhouse-server",
    "cockroach",
    "couchbase",
    "couchdb",
    "cp-kafka",
    "cp-zookeeper",
    "dragonfly",
    "dynamodb-local",
    "elasticsearch",
    "etcd",
    "eventstore",
    "foundationdb",
    "influxdb",
    "kafka",
    "keydb",
    "mariadb",
    "mariadb-galera",
    "meilisearch",
    "memcached",
    "mongo",
    "mongodb",
    "mongodb-community-server",
    "mssql",
    "mysql",
    "mysql-server",
    "nats",
    "neo4j",
    "opensearch",
    "percona",
    "pgvector",
    "postgis",
    "postgres",
    "postgresql",
    "qdrant",
    "questdb",
    "rabbitmq",
    "redis",
    "redis-stack-server",
    "redpanda",
    "scylla",
    "server",
    "timescaledb",
    "timescaledb-ha",
    "valkey",
    "zookeeper",
];

/// Whether `image` (`postgres:16-alpine`, `bitnami/redis`, `mcr.microsoft.com/mssql/server:2022`) is a known datastore.
pub fn is_datastore(image: &str) -> bool {
    let untagged = image.split('@').next().unwrap_or(image);
    let (directory, last) = untagged.rsplit_once('/').unwrap_or(("", untagged));
    let name = last.split(':').next().unwrap_or(last).to_ascii_lowercase();
    match name.as_str() {
        // Too common a word alone: Microsoft's database is `.../mssql/server`.
        "server" => directory.ends_with("mssql"),
        name => DATASTORES.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datastores_are_known_under_any_registry_and_tag() {
        for image in [
            "postgres",
            "postgres:16-alpine",
            "docker.io/library/mysql:8",
            "bitnami/redis@sha256:abc",
            "localhost:5000/mongo:7",
            "mcr.microsoft.com/mssql/server:2022-latest",
        ] {
            assert!(is_datastore(image), "{image}");
        }
        for image in
            ["nginx", "wordpress:6", "myteam/server", "ghcr.io/me/postgres-admin", "", "redis-commander"]
        {
            assert!(!is_datastore(image), "{image}");
        }
    }
}
