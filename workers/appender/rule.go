package appender

import (
	"errors"
	"fmt"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
)

// errRuleSwitch says that nothing depends on the old routing rule any more: the next takeover
// claims the partition with the configured rule.
var errRuleSwitch = errors.New("the routing rule (kafka.source_from, kafka.received_from) is switched")

// routerFor returns the router for the routing rule of a head, which applies to all records read on
// top of that head, and whether it differs from the configured rule.
//
// Invariant: I2. The filter names streams by the rule under which they were sealed, so records are
// looked up in it by that rule, whatever is configured. The partition is read past the filter,
// everything is sealed, and the rule is switched when an entry leaves the filter empty.
func (a *Appender) routerFor(rule string) (r *route.Router, outdated bool, err error) {
	if rule == a.routerRule {
		return a.router, false, nil
	}
	source, received, ok := ledger.ParseRouterRule(rule)
	if !ok {
		return nil, false, fmt.Errorf("routing rule %q of the ledger: %w", rule, ledger.ErrCorrupt)
	}
	r, err = route.New(source, received)
	if err != nil {
		return nil, false, fmt.Errorf("routing rule %q of the ledger: %w", rule, err)
	}
	return r, true, nil
}
