package quorum

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMemberGoesOnlyIfTheOthersAreAMajority(t *testing.T) {
	self, b, c, d, e := Member{Name: "a", Self: true}, Member{Name: "b"}, Member{Name: "c"}, Member{Name: "d"},
		Member{Name: "e"}
	ill := Member{Name: "x", Ill: "no answer"}
	all := func(m ...Member) []Member { return append([]Member{self}, m...) }
	for name, test := range map[string]struct {
		view View
		says string // empty: it may go
	}{
		"three, all well":  {View{Members: all(b, c)}, ""},
		"three, it leaves": {View{Members: all(b, c), Leaves: true}, ""},
		"three, one ill": {View{Members: all(b, ill)},
			"1 healthy voters would remain, and 2 of 3 are needed; not healthy: x (no answer)"},
		"three, one ill, it leaves": {View{Members: all(b, ill), Leaves: true},
			"1 healthy voters would remain, and 2 of 2 are needed"},
		"five, one ill":                      {View{Members: all(b, c, d, ill)}, "not healthy: x (no answer)"},
		"five, one ill, which may be spared": {View{Members: all(b, c, d, ill), Spare: 1}, ""},
		"five, two ill, which may be spared": {View{Members: all(b, c, ill, ill), Spare: 2},
			"2 healthy voters would remain, and 3 of 5"},
		"four, it leaves": {View{Members: all(b, c, d), Leaves: true}, ""},
		"a learner": {View{Members: all(b, c, Member{Name: "d", Learner: true})},
			`member "d" is a learner`},
		"one that has not started": {View{Members: all(b, c, Member{})}, "has not started yet"},
		"no space": {View{Members: all(b, c), Alarms: []string{"NOSPACE"}},
			"raised NOSPACE"},
		"it is no member":       {View{Members: []Member{b, c, d}}, "no member of it"},
		"the only one restarts": {View{Members: all()}, ""},
		"the only one leaves":   {View{Members: all(), Leaves: true}, "--preserve"},
		"one of two restarts":   {View{Members: all(b)}, "stops while either is away"},
		"one of two leaves": {View{Members: all(b), Leaves: true},
			"add a third, or upgrade with --preserve"},
		"five, all well, spare changes naught": {View{Members: all(b, c, d, e), Spare: 3}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := Allow(test.view)
			if test.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrNotNow)
			require.ErrorContains(t, err, test.says)
		})
	}
}
