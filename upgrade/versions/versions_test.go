package versions_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade/versions"
)

// What a plan asks: two minor versions at once are one too many.
func ExampleRules_Allow() {
	fmt.Println(versions.Rules{}.Allow("1.0.0", "1.1.0", ""))
	fmt.Println(versions.Rules{}.Allow("1.0.0", "1.2.0", ""))
	// Output:
	// <nil>
	// 1.0.0 to 1.2.0 is 2 minor versions, at most 1 at once: the version policy does not allow it (upgrade to the latest 1.0, then to the latest 1.1, then to 1.2.0; or force)
}

func TestPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		steps            int
		from, to, lowest string
		why              string // empty: allowed
	}{
		"a patch":        {0, "1.2.3", "1.2.4", "", ""},
		"the same":       {0, "1.2.3", "1.2.3", "", ""},
		"one minor step": {0, "v1.0.9", "1.1", "", ""},
		"two minor steps": {0, "1.0.0", "1.2.4", "",
			"(upgrade to the latest 1.0, then to the latest 1.1, then to 1.2.4; or force)"},
		"two, of a window of two": {2, "1.0.0", "1.2.4", "", ""},
		"five, of a window of two": {2, "1.0.0", "1.5.0", "",
			"to the latest 1.0, then to the latest 1.2, then to the latest 1.4, then to 1.5.0"},
		"any":                        {-1, "1.0.0", "1.9.0", "", ""},
		"another major":              {0, "1.9.0", "3.4.0", "", ""},
		"another major, which minds": {0, "1.8.0", "2.0.0", "1.9", "upgrade to 1.9 first, then to 2.0.0"},
		"down":                       {-1, "1.2.3", "1.2.2", "", "roll back to what the other slot holds, or force"},
		"to its own pre-release":     {0, "1.2.3", "1.2.3-rc.1", "", "is lower than 1.2.3"},
		"between pre-releases":       {0, "1.2.3-rc.2", "1.2.3-rc.10", "", ""},
		"back between them":          {0, "1.2.3-rc.10", "1.2.3-rc.2", "", "is lower"},
		"a word is above a number":   {0, "1.2.3-beta", "1.2.3-1", "", "is lower"},
		"a day with a zero":          {0, "2026.09.30", "2026.10.01", "", ""},
		"back a day":                 {0, "2026.10.01", "2026.09.30", "", "is lower"},
		"a zero in a pre-release":    {0, "1.2.3-rc.010", "1.2.3-rc.9", "", "is lower"},
		"an odd pre-release":         {0, "1.2.3-rc_1~x", "1.2.3", "", ""},
		"down to an odd one":         {0, "1.2.3", "1.2.3-rc_1", "", "is lower"},
		"an empty pre-release":       {0, "1.2.3", "1.2.3-", "", "is lower"},
		"a build is no difference":   {0, "1.2.3+b2", "1.2.3+b1", "", ""},
		"a number beyond all bounds": {0, "1.2.3-99999999999999999999999", "1.2.3-1", "", "is lower"},
		"no version":                 {0, "tuesday", "1.0.0", "", ""},
		"too many numbers":           {0, "1.0.0", "2026.1.2.3", "", ""},
		"what runs is not known, and the image minds": {0, "tuesday", "2.0.0", "1.9",
			`what runs, "tuesday", cannot be compared with it`},
		"an image without a version that minds": {0, "1.8.0", "tuesday", "1.9", "upgrade to 1.9 first"},
		"an image that minds what is no version": {0, "1.8.0", "2.0.0", "monday",
			`may follow "monday" and later, which is no version`},
	} {
		t.Run(name, func(t *testing.T) {
			err := versions.Rules{MinorSteps: test.steps}.Allow(test.from, test.to, test.lowest)
			if test.why == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, versions.ErrPolicy)
			require.ErrorContains(t, err, test.why)
		})
	}
	err := versions.Rules{}.Allow("1.0.0", "1.20261126.0", "")
	require.ErrorContains(t, err, "to the latest 1.7, then to so on, then to 1.20261126.0")
	require.Less(t, len(err.Error()), 500, "not all that lie between")
	require.NoError(t, versions.AllowClient("(devel)", "1.2"))
	require.NoError(t, versions.AllowClient("v1.2.0", "1.2"))
	require.ErrorContains(t, versions.AllowClient("v1.1.9", "1.2"), "take a newer pawl")
	require.ErrorContains(t, versions.AllowClient("(devel)", "monday"), `pawl "monday" or later, which is no version`)
}
