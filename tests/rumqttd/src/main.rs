//! rumqttd with the configuration file that it is given, as its own program runs it. A package of
//! its own builds without TLS, WebSockets and optimisation, in a fraction of the time.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: rumqttd-upstream CONFIG.toml")?;
    let file = config::File::with_name(&path);
    let config = config::Config::builder().add_source(file).build()?;
    rumqttd::Broker::new(config.try_deserialize()?).start()?;
    Ok(())
}
