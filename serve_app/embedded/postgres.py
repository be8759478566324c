"""The embedded PostgreSQL as the launcher and short commands see it."""

from serve_app.embedded.cluster import Cluster
from serve_app.embedded.owner import Owner
from serve_app.embedded.postmaster import end_leftover


class EmbeddedPostgres(Owner[Cluster, str]):
    """A PostgreSQL on a unix socket; it is reached by the URL of its database `face_api`."""

    what = "the database"
    way_out = Cluster.way_out

    def _prepare(self) -> Cluster:
        cluster = Cluster.at(self.folder)
        end_leftover(cluster.data, cluster.socket_folder)
        cluster.prepare()
        return cluster

    def _address(self, server: Cluster) -> str:
        return server.create_database()

    def _serving(self) -> str | None:
        return Cluster.at(self.folder).serving_url()
