//! Pools over several clouds at once: which is taken, and which when that one has nothing left, or gives up
//! half-way. Machines are real; what is given to whom is told by what each cloud has in the end.

use std::sync::Arc;

use skyward::prelude::*;
use skyward_providers::cloud::Account;
use tokio::sync::Barrier;

use crate::fake::{Fake, Fault, Hits};
use crate::smoke::{stage, timing};

#[skyward::function]
fn double(it: u32) -> u32 {
    it * 2
}

/// Two clouds: an H100 costs $3.39 at the first and $2.49 at the second.
struct Clouds {
    digitalocean: (Fake, Arc<dyn Account>),
    lambda: (Fake, Arc<dyn Account>),
}

impl Clouds {
    async fn open() -> Self {
        let clouds = Self { digitalocean: stage("digitalocean").await, lambda: stage("lambda").await };
        // Neither is answered before both were asked: all of them take as long as the slowest.
        let barrier = Arc::new(Barrier::new(2));
        clouds.digitalocean.0.wait_for_others(&barrier);
        clouds.lambda.0.wait_for_others(&barrier);
        clouds
    }

    fn digitalocean(&self) -> Spec {
        Spec::on_shared(Arc::clone(&self.digitalocean.1) as _).accelerator(accelerators::H100)
    }

    fn lambda(&self) -> Spec {
        Spec::on_shared(Arc::clone(&self.lambda.1) as _).accelerator(accelerators::H100)
    }

    /// Starts a pool, calls it, and checks who gave how many machines, and that all were given back.
    async fn run(&self, pool: skyward::Builder, digitalocean: usize, lambda: usize) -> skyward::Result<()> {
        let compute = pool.timing(timing()).start().await?;
        assert_eq!((double(21) >> &compute).await?, 42);
        let given = (self.digitalocean.0.machines().len(), self.lambda.0.machines().len());
        assert_eq!(given, (digitalocean, lambda), "machines of DigitalOcean and of Lambda");
        compute.stop().await?;
        for fake in [&self.digitalocean.0, &self.lambda.0] {
            assert_eq!(fake.left(), [""; 0]);
            assert_eq!(fake.violations(), [""; 0]);
        }
        Ok(())
    }
}

fn cheapest(clouds: &Clouds) -> skyward::Builder {
    skyward_tests::apart().spec(clouds.digitalocean()).spec(clouds.lambda()).selection(Selection::Cheapest)
}

#[skyward::test]
async fn the_cheapest_of_all_clouds_is_taken() -> skyward::Result<()> {
    let clouds = Clouds::open().await;
    clouds.run(cheapest(&clouds), 0, 1).await
}

#[skyward::test]
async fn the_first_spec_is_taken_although_the_second_is_cheaper() -> skyward::Result<()> {
    let clouds = Clouds::open().await;
    let pool = skyward_tests::apart().spec(clouds.digitalocean()).spec(clouds.lambda());
    clouds.run(pool.selection(Selection::First), 1, 0).await
}

#[skyward::test]
async fn specs_escalate_from_spot_to_on_demand() -> skyward::Result<()> {
    let clouds = Clouds::open().await;
    let pool = skyward_tests::apart()
        .spec(clouds.digitalocean().spot().max_hourly_cost(usd!(2.50)))
        .spec(clouds.lambda().allocation(Allocation::SpotIfAvailable))
        .spec(clouds.digitalocean().on_demand());
    clouds.run(pool.selection(Selection::Cheapest), 0, 1).await?;

    // With the second out of stock, the safety net.
    let clouds = Clouds::open().await;
    clouds.lambda.0.fail(Hits::Rent, [Fault::NoCapacity; 20]);
    let pool = skyward_tests::apart()
        .spec(clouds.digitalocean().spot().max_hourly_cost(usd!(2.50)))
        .spec(clouds.lambda().allocation(Allocation::SpotIfAvailable))
        .spec(clouds.digitalocean().on_demand());
    clouds.run(pool.selection(Selection::Cheapest), 1, 0).await
}

#[skyward::test]
async fn the_next_cloud_is_taken_when_the_first_is_out_of_stock() -> skyward::Result<()> {
    let clouds = Clouds::open().await;
    clouds.lambda.0.fail(Hits::Rent, [Fault::NoCapacity; 20]);
    clouds.run(cheapest(&clouds), 1, 0).await
}

#[skyward::test]
async fn a_cloud_that_gives_half_of_the_machines_gets_them_back() -> skyward::Result<()> {
    let clouds = Clouds::open().await;
    clouds.lambda.0.fail(Hits::Rent, std::iter::once(Fault::None).chain([Fault::NoCapacity; 20]));
    clouds.run(cheapest(&clouds).nodes(2), 2, 0).await
}

#[skyward::test]
async fn a_cloud_whose_account_has_no_money_is_left_for_the_next() -> skyward::Result<()> {
    let clouds = Clouds::open().await;
    clouds.lambda.0.fail(Hits::Rent, [Fault::InsufficientFunds]);
    clouds.run(cheapest(&clouds), 1, 0).await
}
