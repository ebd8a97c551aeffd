//! Where regions are, and how far apart: twenty public-cloud regions by their cities.
//!
//! The round trip between two places is assumed from the great-circle distance: 2 ms, and 1.3 ms for each 100 km. The two
//! numbers were chosen by hand and not fitted to any published matrix; the one to hold them against is "Azure network
//! round-trip latency statistics" (learn.microsoft.com/azure/networking/azure-network-latency), which was not done yet.
//! `world.rs` draws a log-normal factor for each pair on top.

/// A city.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

const fn place(name: &'static str, latitude: f64, longitude: f64) -> Place {
    Place {
        name,
        latitude,
        longitude,
    }
}

pub(crate) const PLACES: [Place; 20] = [
    place("virginia", 38.9, -77.4),
    place("frankfurt", 50.1, 8.7),
    place("tokyo", 35.7, 139.7),
    place("oregon", 45.6, -121.2),
    place("singapore", 1.3, 103.8),
    place("london", 51.5, -0.1),
    place("sao-paulo", -23.5, -46.6),
    place("mumbai", 19.1, 72.9),
    place("sydney", -33.9, 151.2),
    place("ohio", 40.0, -83.0),
    place("dublin", 53.3, -6.3),
    place("seoul", 37.6, 127.0),
    place("california", 37.4, -121.9),
    place("paris", 48.9, 2.4),
    place("hong-kong", 22.3, 114.2),
    place("montreal", 45.5, -73.6),
    place("stockholm", 59.3, 18.1),
    place("johannesburg", -26.2, 28.0),
    place("dubai", 25.3, 55.3),
    place("texas", 29.4, -98.5),
];

/// A round trip in milliseconds.
pub(crate) fn round_trip(one: &Place, two: &Place) -> f64 {
    2.0 + kilometres(one, two) * 0.013
}

/// Along the great circle (haversine).
fn kilometres(one: &Place, two: &Place) -> f64 {
    let radians = |degrees: f64| degrees.to_radians();
    let half = |a: f64, b: f64| ((radians(b) - radians(a)) / 2.0).sin().powi(2);
    let a = half(one.latitude, two.latitude)
        + radians(one.latitude).cos()
            * radians(two.latitude).cos()
            * half(one.longitude, two.longitude);
    2.0 * 6_371.0 * a.sqrt().min(1.0).asin()
}

#[test]
fn round_trips_are_of_the_right_order() {
    // Expectations from general knowledge, not from a source: they only catch gross mistakes.
    for (one, two, expected) in [
        ("virginia", "frankfurt", 90.0),
        ("virginia", "oregon", 62.0),
        ("london", "paris", 9.0),
        ("tokyo", "seoul", 28.0),
        ("singapore", "mumbai", 57.0),
        ("virginia", "tokyo", 155.0),
    ] {
        let find = |name| PLACES.iter().find(|p| p.name == name).expect("listed");
        let ours = round_trip(find(one), find(two));
        assert!(
            (ours / expected - 1.0).abs() < 0.45,
            "{one} {two}: {ours} ms"
        );
    }
}
