//go:build guanlan_woven

package pgxpool

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanObserve reports the pool until it is closed.
func (p *Pool) guanlanObserve() {
	p.guanlan = sdk.ObserveConnections(pgx.GuanlanDatabase(p.config.ConnConfig).Pool(), func() sdk.ConnectionStats {
		s := p.Stat()
		now := sdk.ConnectionStats{
			Used: int(s.AcquiredConns()), Idle: int(s.IdleConns()), Max: int(s.MaxConns()), IdleMin: int(p.config.MinConns),
			Waits: s.EmptyAcquireCount(), Timeouts: s.CanceledAcquireCount(),
			Closed: map[string]int64{"lifetime": s.MaxLifetimeDestroyCount(), "idle_time": s.MaxIdleDestroyCount()},
		}
		if waited, ok := interface{}(s).(interface{ EmptyAcquireWaitTime() time.Duration }); ok { // newer versions have it
			now.WaitTime = waited.EmptyAcquireWaitTime()
		}
		return now
	})
}
