//go:build guanlan_woven

package stdlib

import "github.com/jackc/pgx/v5"

// GuanlanTarget tells package sdk where the connections of sql.OpenDB go, which has
// no data source name.
func (c connector) GuanlanTarget() (server, namespace string) {
	return pgx.GuanlanTarget(&c.ConnConfig)
}
