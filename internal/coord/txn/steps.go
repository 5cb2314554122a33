// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"fmt"
	"slices"

	"gregor/internal/coord"
)

// Read returns what a record of __transaction_state says: the transactional id
// and its state, nil where it is forgotten. The id is "" for records of a kind
// that is not known.
func Read(r coord.Record) (id string, t *Txn, err error) {
	id, ok, err := readKey(r.Key)
	if !ok || err != nil || r.Value == nil {
		return id, nil, err
	}
	t, err = readValue(id, r.Value)
	return id, t, err
}

// Follows says why next cannot come after before in a coordinator's log,
// whoever wrote them; nil when it can. Nil is the state of an id that is not
// known. Tests use it to judge whole logs:
//
//   - a decision stands: nothing but its completion comes after it
//   - it takes all partitions of the transaction along
//   - producers and epochs only rise
//   - an id is forgotten only while nothing is open
func Follows(before, next *Txn) error {
	if before == nil {
		return nil
	}
	if next == nil {
		if !before.State.ended() {
			return fmt.Errorf("%+v is forgotten", *before)
		}
		return nil
	}
	may := []State{Empty, Ongoing, PrepareAbort}
	switch before.State {
	case Ongoing:
		may = []State{Ongoing, PrepareCommit, PrepareAbort}
	case PrepareCommit:
		may = []State{CompleteCommit}
	case PrepareAbort:
		may = []State{CompleteAbort}
	}
	switch {
	case !slices.Contains(may, next.State):
		return fmt.Errorf("%+v becomes %+v", *before, *next)
	case next.Epoch < 0, next.Producer < before.Producer, next.Producer == before.Producer && next.Epoch < before.Epoch:
		return fmt.Errorf("%+v goes back to %+v", *before, *next)
	case before.State == Ongoing && next.State != Ongoing && !slices.Equal(before.Partitions, next.Partitions):
		return fmt.Errorf("%+v loses partitions: %+v", *before, *next)
	}
	for _, p := range before.Partitions {
		if before.State == Ongoing && !next.has(p) {
			return fmt.Errorf("%+v loses a partition: %+v", *before, *next)
		}
	}
	return nil
}
